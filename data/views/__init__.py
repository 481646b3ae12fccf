"""From images to views: recipes, crops, augmentations, geometry, randomness."""
