"""Records, manifest and pictures; input pipeline and augmentation on the device."""
