"""Tests of semppl.export.client, without a server; tests/export/serving/contract_test.py has one."""

import contextlib
import http.server
import io
import json
import pathlib
import re
import subprocess
import sys
import threading

import numpy as np
from absl.testing import absltest, flagsaver, parameterized

import semppl
from semppl.export import client
from semppl.export.serving.rest_client import RestClient
from semppl.export.serving.retries import Refused, Unavailable
from semppl.programs import hyperparameter_flags  # noqa: F401  (defines --batch_size)
from semppl.tests import testing  # noqa: F401  (marks the flags as parsed)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Gives prepared answers, one after the other."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        code, body = self.server.answers.pop(0)
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class ClientTest(parameterized.TestCase):
    def _server(self, *answers):
        server = http.server.HTTPServer(("localhost", 0), _Handler)
        server.answers = list(answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return f"http://localhost:{server.server_port}"

    def _predict(self, address, **settings):
        asked = RestClient(address, "digits", seconds=30, **settings)
        return asked.predict("embed_bytes", {"bytes": np.array([b"a"], object)})

    def test_a_server_that_is_busy_is_asked_again(self):
        address = self._server((503, b'{"error": "later"}'), (200, b'{"outputs": {"valid": [true], "x": [[1.5]]}}'))
        answer = self._predict(address)
        self.assertEqual((answer["valid"].tolist(), answer["x"].tolist()), ([True], [[1.5]]))

    def test_a_refusal_is_told_and_not_repeated(self):
        with self.assertRaisesRegex(Refused, "answered 400: no such input"):
            self._predict(self._server((400, b'{"error": "no such input"}')))

    def test_a_server_that_is_not_there_is_told_after_the_last_attempt(self):
        with self.assertRaisesRegex(Unavailable, "did not answer"):
            self._predict("http://localhost:9", attempts=2)

    @parameterized.parameters(
        "localhost:8501", "ftp://localhost", "http://", "grpc://", "http://[::1", "http://a:b", "http://a/ä"
    )
    def test_an_address_says_how_to_ask(self, address):
        with self.assertRaisesRegex(ValueError, "--server must be http://HOST:PORT or grpc://HOST:PORT"):
            client.connect(address, "digits", seconds=1, attempts=1)

    @parameterized.parameters(
        ([], {}, 2, "The arguments must be pictures, or folders of pictures. Received: none"),
        (
            ["none.png"],
            {},
            2,
            "The arguments must be pictures, or folders of pictures. Received: {}/none.png (No such file or directory)",
        ),
        (["empty"], {}, 2, "The arguments must be pictures, or folders of pictures. Received: {}/empty, without any"),
        (
            ["picture"],
            {"server": "http://localhost:9", "attempts": 1},
            1,
            "error: --server must answer within --attempts=1 of --timeout_seconds=10. Received: http",
        ),
    )
    def test_what_goes_wrong_is_one_line(self, arguments, values, code, message):
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "picture").write_bytes(b"a")
        (folder / "empty").mkdir()
        with contextlib.redirect_stderr(io.StringIO()) as output, flagsaver.flagsaver(**values):
            self.assertEqual(client.main(["client", *(str(folder / name) for name in arguments)]), code)
        self.assertIn(message.format(folder), output.getvalue())
        self.assertEqual("; raise --attempts for a server" in output.getvalue(), code == 1)
        self.assertLen(output.getvalue().splitlines(), 1)

    def test_a_refusal_names_the_flags_that_say_what_is_asked(self):
        picture = self.create_tempfile().full_path
        server = self._server((404, b'{"error": "Servable not found"}'))
        with contextlib.redirect_stderr(io.StringIO()) as output, flagsaver.flagsaver(server=server):
            self.assertEqual(client.main(["client", picture]), 2)
        self.assertRegex(
            output.getvalue(), "^error: --model_name, .* must suit the server. Received: .*404: Servable not"
        )

    @parameterized.parameters(
        (b"<html>\n</html>", "must be JSON"),
        (b"[]", "must be a JSON object. Received: list"),
        (b"{}", '"outputs" must be a JSON object. Received: NoneType'),
        (b'{"outputs": [[1, 2]]}', '"outputs" must be a JSON object. Received: list'),
        (b'{"outputs": {"x": [[1], [1, 2]]}}', "inhomogeneous"),
        (b'{"outputs": {"x": %s%s}}' % (b"[" * 990, b"]" * 990), "(nested so deep|RecursionError)"),
        (b'{"outputs": {"x": {"y": 1}}}', "An object among values"),
        (b'{"outputs": {"x": [1]}}', r"x of shape \(1,\) for 2 pictures"),
        (b'{"outputs": {"x": 1}}', r"x of shape \(\) for 2 pictures"),
    )
    def test_what_is_no_model_server_is_told_in_a_line(self, body, message):
        picture = self.create_tempfile().full_path
        server = self._server((200, body))
        with contextlib.redirect_stderr(io.StringIO()) as output, flagsaver.flagsaver(server=server):
            self.assertEqual(client.main(["client", picture, picture]), 2)
        self.assertRegex(output.getvalue(), f"^error: --server must be a model server. Received: .*{message}.*\n$")

    def test_a_refusal_of_several_lines_is_told_in_one(self):
        picture = self.create_tempfile().full_path
        server = self._server((400, b"<html>\n\n no\n</html>"))
        with contextlib.redirect_stderr(io.StringIO()) as output, flagsaver.flagsaver(server=server):
            self.assertEqual(client.main(["client", picture]), 2)
        self.assertEndsWith(output.getvalue(), "answered 400: <html> no </html>\n")

    def test_bytes_are_told_as_text(self):
        picture = self.create_tempfile().full_path
        server = self._server((200, b'{"outputs": {"x": [{"b64": "YQ=="}]}}'))
        with contextlib.redirect_stdout(io.StringIO()) as output, flagsaver.flagsaver(server=server):
            self.assertEqual(client.main(["client", picture]), 0)
        self.assertIn('"x": "a"', output.getvalue())

    def _answers(self, *arguments, **values):
        """Runs the client; returns a dict per line of its output, and its errors."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), flagsaver.flagsaver(**values):
            self.assertEqual(client.main(["client", *map(str, arguments)]), 0)
        return [json.loads(line) for line in output.getvalue().splitlines()], errors.getvalue()

    @parameterized.parameters(
        (False, ["path", "class_name", "probability", "abstain", "valid", "label", "ood"]),
        (True, ["path", "class_name", "probability", "abstain", "valid", "embedding", "label", "ood"]),
    )
    def test_the_answer_comes_first_and_the_embedding_if_it_is_asked_for(self, embedding, names):
        outputs = {"ood": [3.0], "embedding": [[0.6, 0.8]], "valid": [True], "label": [1], "probability": [0.9]}
        outputs |= {"abstain": [False], "class_name": ["cat"]}
        server = self._server((200, json.dumps({"outputs": outputs}).encode()))
        (answer,), errors = self._answers(self.create_tempfile().full_path, server=server, show_embedding=embedding)
        self.assertEqual((list(answer), errors), (names, ""))
        self.assertEqual((answer["class_name"], answer["probability"]), ("cat", 0.9))

    def test_the_embedding_is_shown_where_only_that_is_computed(self):
        server = self._server((200, b'{"outputs": {"valid": [true], "embedding": [[1.5]]}}'))
        (answer,), _ = self._answers(self.create_tempfile().full_path, server=server, signature="embed_bytes")
        self.assertEqual(answer["embedding"], [1.5])

    def test_a_picture_that_the_model_cannot_read_is_told_beside_the_answers(self):
        server = self._server((200, b'{"outputs": {"valid": [true, false]}}'))
        good, bad = (self.create_tempfile(name).full_path for name in ("good.png", "bad.png"))
        answers, errors = self._answers(good, bad, server=server)
        self.assertEqual([answer["valid"] for answer in answers], [True, False])
        self.assertEqual(errors, f"warning: {bad}: the model cannot read this picture\n")
        foreign = pathlib.Path(good).with_name("phone.HEIC")
        foreign.write_bytes(b"ftypheic")
        _, errors = self._answers(foreign, server=self._server((200, b'{"outputs": {"valid": [false]}}')))
        convert = f"convert it, for example with `mogrify -format jpg {foreign}` of ImageMagick"
        self.assertEqual(errors, f"warning: {foreign}: the model cannot read this picture; {convert}\n")

    def test_a_folder_stands_for_its_pictures(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        (folder / "inner").mkdir()
        for name in ("b.png", "inner/a.JPG", "notes.txt", "[c].webp", "d.heic"):
            (folder / name).write_bytes(b"a")
        server = self._server((200, b'{"outputs": {"valid": [true, true, true, true]}}'))
        answers, errors = self._answers(folder, folder / "b.png", server=server)
        self.assertRegex(errors, rf"{re.escape(str(folder))}: 1 .*\.heic")  # what is left out is said
        expected = ["[c].webp", "b.png", "inner/a.JPG", "b.png"]
        self.assertEqual([answer["path"] for answer in answers], [str(folder / name) for name in expected])

    def test_a_name_that_is_no_ascii_is_quoted(self):
        with self.assertRaisesRegex(Refused, "/v1/models/%C3%A4%2F:predict answered 404"):
            RestClient(self._server((404, b"")), "ä/").predict("embed_bytes", {})

    def test_rest_needs_no_tensorflow(self):
        program = 'import sys, semppl.export.client; sys.exit("tensorflow" in sys.modules)'
        root = pathlib.Path(semppl.__file__).parents[1]
        self.assertEqual(subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode, 0)


if __name__ == "__main__":
    absltest.main()
