"""A build directory: where it lies, how it is published, read and verified."""
