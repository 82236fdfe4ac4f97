"""Kill the real engine and the real agent, again and again, and look for anything lost or done twice."""
