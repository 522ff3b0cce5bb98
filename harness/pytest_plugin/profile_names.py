"""The names of moefuzz's Hypothesis profiles; ``base/hypothesis_profiles.py`` defines them."""

NAMES = ("dev", "ci", "gpu", "soak")
NEED_A_GPU = ("gpu", "soak")
HYPOTHESIS_OWN = ("default", "ci")  # registered by Hypothesis itself
