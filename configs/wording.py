"""Words of messages that depend on a number."""


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun: "1 class", "2 classes", "0 pictures", "1,000 steps".

    Args:
        number: Number of things.
        noun: Their name in the singular, with a plural in "s", or in "es" after an "s".
    """
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{plural}"
