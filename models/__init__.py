"""What learns and ranks: arrays and item numbers in, ranked item numbers out."""
