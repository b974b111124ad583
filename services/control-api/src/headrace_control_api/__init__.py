"""What runs where in a Headrace cluster, over REST."""
