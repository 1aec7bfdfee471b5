"""infoser for scikit-learn and imbalanced-learn: an over-sampler and a classifier that take plain arrays or data frames.

Importing this imports no JAX; fitting does.
"""

from infoser.sklearn.classifier import SpeechEmotionClassifier
from infoser.sklearn.sampler import InfoGANSampler

__all__ = ["InfoGANSampler", "SpeechEmotionClassifier"]
