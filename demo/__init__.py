"""The demonstration's data: what a visitor can build from without downloading anything."""
