"""ONE image: bytes in, pixels out.

`decode` turns a path or bytes into upright uint8 pixels (height, width, channels) or refuses them with a code;
`resize` brings them to a model's height and width; `augment` varies a batch of them while training.
To add an augmentation: write a function in augment.py and a line in its table AUGMENTATIONS.
"""
