"""The version of the software, told to peers, in headers and in metrics."""

VERSION = "0.1.0"
"""The distributions' version; a test compares them."""

SOFTWARE = f"headrace/{VERSION}"
"""What a process calls itself towards others."""
