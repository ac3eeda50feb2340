"""The plots of a card, drawn from plain values into PNG bytes."""
