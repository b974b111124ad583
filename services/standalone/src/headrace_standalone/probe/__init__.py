"""`headrace probe`: a viewer that measures instead of showing."""
