"""Numbers as benches read and write them: 10k, 2,500, 3.2e10."""

import re

from errors import UserError

NUMBER = re.compile(r"^(\d+)([kKmM]?)$")
SCALE = {"": 1, "k": 1000, "m": 1_000_000}


def parse_count(text):
    """10k is 10,000 and 1M is 1,000,000: counts are decimal."""
    found = NUMBER.match(text.strip())
    if not found or int(found.group(1)) == 0:
        raise UserError(f"{text.strip() or 'nothing'} is not a count: a "
                        "number, with k (1,000) or M (1,000,000)", status=2)
    return int(found.group(1)) * SCALE[found.group(2).lower()]


def parse_counts(text):
    """A list of them, ascending, each once."""
    return sorted({parse_count(part) for part in text.split(",")})


def parse_choices(what, text, allowed):
    """Some of @allowed, in the order given."""
    chosen = []
    for part in text.split(","):
        if part not in allowed:
            raise UserError(f"{what} {part or '(nothing)'}: there are "
                            f"{', '.join(allowed)}", status=2)
        if part not in chosen:
            chosen.append(part)
    return chosen


def join_words(words):
    """a; a and b; a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]
                        if len(words) > 1 else words)


def parse_percent(text):
    """2% or 0.5%: a fraction."""
    found = re.match(r"^(\d+(?:\.\d+)?)%?$", text.strip())
    if not found:
        raise UserError(f"--threshold {text}: per cent, such as 2% or 0.5%",
                        status=2)
    return float(found.group(1)) / 100


def show(value):
    """Four figures that matter, or whole thousands with commas."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if value >= 1000:
        return f"{value:,.0f}"
    if value == int(value):
        return str(int(value))
    return f"{value:,.1f}" if value >= 10 else f"{value:.2f}"


def show_seconds(seconds):
    seconds = int(seconds)
    return f"{seconds // 60}:{seconds % 60:02}"
