"""Data at rest and on its way to the model: archive, radar files, coding, windows, synthetic."""
