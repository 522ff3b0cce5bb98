"""The names of our Hypothesis profiles; ``base/hypothesis_profiles.py`` has what they are."""

NAMES = ("dev", "ci", "gpu", "soak")
NEED_A_GPU = ("gpu", "soak")
HYPOTHESIS_OWN = ("default", "ci")  # which Hypothesis registers itself
