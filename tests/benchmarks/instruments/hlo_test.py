"""Tests of semppl.benchmarks.instruments.hlo."""

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from semppl.benchmarks.instruments import hlo
from semppl.layers import collectives
from semppl.tests import testing


def _computation(*instructions):
    """Makes a computation of (id, opcode, operands); the last instruction is its root."""
    made = [
        hlo_pb2.HloInstructionProto(id=number, opcode=opcode, operand_ids=operands)
        for number, opcode, operands in instructions
    ]
    return hlo_pb2.HloModuleProto(
        computations=[hlo_pb2.HloComputationProto(instructions=made, root_id=instructions[-1][0])]
    )


class ProblemsTest(tf.test.TestCase):
    def test_a_plain_program_has_none(self):
        module = hlo.lower(lambda x, y: tf.matmul(x, y) + 1.0, tf.TensorSpec([2, 3]), tf.TensorSpec([3, 4]))
        self.assertEqual(hlo.problems(module), [])
        self.assertIn("dot", {i.opcode for computation in module.computations for i in computation.instructions})

    def test_an_open_shape_is_named(self):
        module = hlo.lower(lambda x: tf.where(x > 0), tf.TensorSpec([5]))
        self.assertRegex(hlo.problems(module)[0], "Where .* has a dynamic shape")

    def test_talk_with_the_host_is_named(self):
        for opcode in ("outfeed", "infeed", "send", "recv"):
            self.assertRegex(
                hlo.problems(_computation((1, "parameter", []), (2, opcode, [1])))[0], f"{opcode} of .*host"
            )
        module = _computation((1, "custom-call", []))
        module.computations[0].instructions[0].custom_call_target = "xla_python_cpu_callback"
        self.assertRegex(hlo.problems(module)[0], "xla_python_cpu_callback")

    def test_an_eigendecomposition_stays_on_the_device(self):
        module = _computation((1, "custom-call", []))
        module.computations[0].instructions[0].custom_call_target = "Eigh"
        self.assertEqual(hlo.problems(module), [])

    def test_a_program_with_problems_is_not_compiled(self):
        with self.assertRaisesRegex(hlo.CompilationError, "open shapes. Received: .*Where"):
            next(hlo.compile_ahead(hlo.lower(lambda x: tf.where(x > 0), tf.TensorSpec([5])), ["v5e:2x2"], ""))

    def test_without_jax_one_is_told_how_to_get_it(self):
        for python in ("", "/bin/false", "nowhere/python"):
            with self.assertRaisesRegex(hlo.CompilationError, "--jax_python must be .*pip install jax==.* libtpu=="):
                hlo.check_compiler(python)
        hlo.check_compiler("/bin/true")


class ElideCopiesTest(tf.test.TestCase):
    def test_users_of_a_copy_use_the_original(self):
        module = _computation(
            (1, "parameter", []),
            (2, "copy", [1]),
            (3, "copy", [2]),
            (4, "negate", [3]),
            (5, "add", [2, 4]),
            (6, "copy", [5]),
        )
        hlo.elide_copies(module)
        computation = module.computations[0]
        left = [(i.id, i.opcode, list(i.operand_ids)) for i in computation.instructions]
        self.assertEqual(left, [(1, "parameter", []), (4, "negate", [1]), (5, "add", [1, 4])])
        self.assertEqual(computation.root_id, 5)

    def test_results_that_tensorflow_copies_are_left(self):
        variable = tf.Variable(tf.zeros([3]))
        module = hlo.lower(lambda x: variable.assign_add(x), tf.TensorSpec([3]))
        instructions = module.computations[-1].instructions
        self.assertIn("copy", {i.opcode for i in instructions})
        hlo.elide_copies(module)
        known = {i.id for i in instructions}
        self.assertNotIn("copy", {i.opcode for i in instructions})
        self.assertContainsSubset({operand for i in instructions for operand in i.operand_ids}, known)


class OneOfTest(tf.test.TestCase):
    def test_rows_are_gathered_into_a_batch_of_all_replicas(self):
        with hlo.one_of(4):
            gathered = collectives.gather_rows(tf.constant([1, 2, 3]), axis=0, num_labelled=1)
        self.assertAllEqual(gathered, [1, 0, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0])  # labelled rows first
        self.assertEqual(collectives.num_replicas(), 1)


if __name__ == "__main__":
    assert testing
    tf.test.main()
