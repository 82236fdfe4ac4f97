"""What spans packages: whole programs, the documents, and the tidiness of the source."""
