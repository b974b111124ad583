"""`headrace check`: what a feed is, how well it comes, and who will see it."""
