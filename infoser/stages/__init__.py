"""The stages align, generate, classify, all in the same shape: init, train_step and outputs, for one run on one device."""
