"""Tests of the bench: what it says, not how fast anything is."""
