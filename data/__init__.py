"""From images to batches of views: sources, label splits, augmentations, the pipeline."""
