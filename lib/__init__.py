"""The framework around the method: configuration, data sets, training, evaluation and reports. Imports `patrack`."""
