"""A tool of a skill in the folder that the settings name."""

from regrow import tool


@tool
async def shout(text: str) -> str:
    """Shouts."""
    return text.upper()
