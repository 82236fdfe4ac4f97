"""Write an agent."""
