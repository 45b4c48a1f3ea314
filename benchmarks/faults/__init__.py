"""A zoo of healthy models and of planted faults, and how often ``glasslstm.diagnose`` is right about them."""
