"""What runs: definitions, jobs, schedules, and the command line. There is one orchestration, and this is it."""
