"""The catalogue beside a plain model of it: one act after another on both, and equal answers."""
