"""The yardsticks: what is fast, how fast, and next to what. See README.md here."""
