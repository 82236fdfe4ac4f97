"""What the documents say is compared with the code, and run."""
