"""Square roots of matrices: by Newton–Schulz iterations, which only multiply matrices, and by eigenvalues."""

import tensorflow as tf


def newton_schulz(matrix: tf.Tensor, *, iterations: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Approximates the square root of a matrix, and the inverse of the root, by Newton–Schulz iterations.

    From Y = A/‖A‖ and X = I, with the Frobenius norm: T = (3·I − X·Y)/2, Y ← Y·T, X ← T·X. Then Y approaches the root of A/‖A‖,
    and X its inverse. An eigenvalue a·‖A‖ below (2/3)^(2n)·‖A‖ has not converged after n iterations.

    Args:
        matrix: `[D, D]` symmetric positive definite A.
        iterations: Number of iterations n.

    Returns:
        `[D, D]` approximations of A^½ and A^−½.

    Reference: Higham 2008, Functions of Matrices, eq. 6.35.
    """
    norm = tf.norm(matrix)
    identity = tf.eye(matrix.shape[0], dtype=matrix.dtype)
    root, inverse = matrix / norm, identity
    for _ in range(iterations):
        change = (3 * identity - inverse @ root) / 2
        root, inverse = root @ change, change @ inverse
    return root * tf.sqrt(norm), inverse / tf.sqrt(norm)


def symmetric_root(matrix: tf.Tensor) -> tf.Tensor:
    """Computes the square root of a `[D, D]` symmetric positive semi-definite matrix by its eigenvalues."""
    values, vectors = tf.linalg.eigh(matrix)
    return tf.einsum("ij,j,kj->ik", vectors, tf.sqrt(tf.nn.relu(values)), vectors)
