"""What luthier fetches and serves."""
