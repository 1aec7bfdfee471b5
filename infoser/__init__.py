"""infoser: speech-emotion features generated under mutual-information regularisation, and honest scores of what they buy."""

__version__ = "0.1.0"
