"""What people are told of a failure."""
