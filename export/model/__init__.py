"""The parts of an exported model: decoding, inference network, signatures, assets, warm-up, other runtimes."""
