"""How a figure over people is told in words. Light: no numerics here."""

from collections.abc import Mapping

FEW = 5  # people; of fewer the values are told, and no interval


def worded(figure: Mapping, form: str, unit: str = "") -> str:
    """{"mean", "interval", "each"} as "+1.3 dB [0.9, 1.7]"; of two to four people "+1.3 dB (0.9, 1.8)", of one the mean alone."""
    if figure["mean"] is None:
        return ""
    text = form.format(figure["mean"]) + unit
    if figure.get("interval"):
        low, high = (form.format(bound) for bound in figure["interval"])
        return f"{text} [{low}, {high}]"
    each = [form.format(value) for value in figure.get("each", ())]
    return f"{text} ({', '.join(each)})" if 1 < len(each) < FEW else text
