"""Tests of semppl.trainers.devices.rendezvous."""

import concurrent.futures
import random
import socket
import time

from absl.testing import absltest, parameterized

from semppl.trainers.devices import rendezvous


def _addresses(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in held]
    for each in held:
        each.close()
    return addresses


class MeetTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.pool = self.enter_context(concurrent.futures.ThreadPoolExecutor(8))

    def _meet(self, addresses, place, patience=10.0, after=0.0):
        def start():
            time.sleep(after)
            rendezvous.meet(addresses, place, patience)
            return time.monotonic()

        return self.pool.submit(start)

    @parameterized.parameters(2, 4)
    def test_nobody_goes_before_the_last_has_come(self, count):
        addresses, rng = _addresses(count), random.Random(count)
        order = rng.sample(range(count), count)
        last = time.monotonic() + 0.2 * (count - 1)
        meetings = [self._meet(addresses, place, after=0.2 * turn) for turn, place in enumerate(order)]
        for meeting in meetings:
            self.assertGreaterEqual(meeting.result(), last)

    def test_the_chief_s_port_is_free_afterwards(self):
        addresses = _addresses(2)
        for _ in range(3):
            for meeting in [self._meet(addresses, place) for place in (0, 1)]:
                meeting.result()

    def test_the_chief_names_who_is_missing(self):
        addresses = _addresses(3)
        other = self._meet(addresses, 2, patience=1.0)
        with self.assertRaises(ValueError) as caught:
            self._meet(addresses, 0, patience=0.5).result()
        expected = "TF_CONFIG must name workers that start within 0.5 s (--worker_patience). Received: "
        self.assertEqual(str(caught.exception), expected + addresses[1])
        with self.assertRaisesRegex(ValueError, f"Received: {addresses[0]}$"):
            other.result()

    def test_a_worker_that_is_started_again_counts_once(self):
        addresses = _addresses(3)
        chief = self._meet(addresses, 0)
        time.sleep(0.2)
        host, port = addresses[0].split(":")
        with socket.create_connection((host, int(port))) as call:
            call.sendall(b"semppl worker 1")
            time.sleep(0.2)
        second = self._meet(addresses, 2)
        time.sleep(0.3)
        self.assertFalse(chief.done())
        for meeting in (self._meet(addresses, 1), second, chief):
            meeting.result()

    @parameterized.parameters(b"GET / HTTP/1.1", b"\xff\xfe", b"semppl worker 7", b"semppl worker -1", b"")
    def test_strangers_are_not_counted(self, greeting):
        addresses = _addresses(2)
        chief = self._meet(addresses, 0)
        time.sleep(0.2)
        host, port = addresses[0].split(":")
        with socket.create_connection((host, int(port))) as call:
            call.sendall(greeting)
        time.sleep(0.2)
        self.assertFalse(chief.done())
        self._meet(addresses, 1).result()
        chief.result()

    @parameterized.parameters(0, 1)
    def test_a_port_that_is_taken_is_told(self, place):
        addresses = _addresses(2)
        host, port = addresses[place].split(":")
        received = rf"a free port\. Received: {addresses[place]} \(Address already in use\)"
        with socket.create_server((host, int(port))), self.assertRaisesRegex(ValueError, received):
            rendezvous.meet(addresses, place, 1.0)


if __name__ == "__main__":
    absltest.main()
