"""What learns and ranks. Knows arrays and item numbers, nothing of tables or orchestration."""
