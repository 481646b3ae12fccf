"""Tests of semppl.export.index, search and what they stand on."""

import contextlib
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from importlib import util
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, flagsaver, parameterized
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import projector_config_pb2

from semppl.configs.hyperparameters import Hyperparameters
from semppl.data.files.decoding import encode
from semppl.data.sources import load_source
from semppl.export import embed, export_model, index, search
from semppl.export.collections import embeddings, faiss_index, projector, search_page
from semppl.export.collections.collection import read_picture
from semppl.export.collections.embeddings import read_embeddings
from semppl.export.collections.index_folder import find_model
from semppl.export.collections.search_page import Found, Result
from semppl.export.collections.search_server import SearchServer
from semppl.export.collections.thumbnails import thumbnail
from semppl.programs import extras
from semppl.runs import compatible_run
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)
from semppl.tests.export.random_runs import write_run

_PICTURES = 30
_HAS_FAISS = util.find_spec("faiss") is not None


def _unit(rng, shape):
    vectors = rng.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _get(address, body=None):
    with urllib.request.urlopen(address, body, timeout=60) as answer:
        return answer.read().decode()


@unittest.skipUnless(_HAS_FAISS, 'the extra "search" is not installed')
class NearestTest(tf.test.TestCase):
    def test_where_cells_hold_too_few_nothing_stands_in_for_the_rest(self):
        vectors = _unit(np.random.default_rng(0), (200, 16))
        built = faiss_index.build(vectors, kind="cells", min_recall=0.1)
        self.assertIn(-1, built.search(vectors[:5], 150)[1])
        for query, (similarities, positions) in zip(
            vectors[:5], faiss_index.found(built.index, vectors[:5], 150), strict=True
        ):
            self.assertBetween(len(positions), 1, 149)
            self.assertAllInRange(positions, 0, 199)
            self.assertAllClose(similarities, vectors[positions] @ query, atol=1e-6)

    def test_a_single_embedding_has_no_neighbour_to_miss(self):
        for kind in ("exact", "cells"):
            self.assertEqual(faiss_index.build(_unit(np.random.default_rng(0), (1, 4)), kind=kind).recall, 1.0)

    def test_few_are_compared_exactly(self):
        vectors = _unit(np.random.default_rng(0), (200, 16))
        built = faiss_index.build(vectors)
        similarities, places = built.search(vectors[:5], 7)
        expected = vectors[:5] @ vectors.T
        self.assertEqual((built.kind, built.recall), ("exact", 1.0))
        self.assertAllEqual(places, np.argsort(-expected, axis=1)[:, :7])
        self.assertAllClose(similarities, -np.sort(-expected, axis=1)[:, :7], atol=1e-6)

    def test_more_than_there_are_cannot_be_found(self):
        self.assertEqual(
            faiss_index.build(_unit(np.random.default_rng(0), (3, 4))).search(np.ones([1, 4]), 9)[1].shape, (1, 3)
        )

    def test_so_many_cells_are_searched_as_the_recall_takes(self):
        vectors = _unit(np.random.default_rng(1), (4000, 16))
        low, high = (faiss_index.build(vectors, kind="cells", min_recall=recall) for recall in (0.3, 0.98))
        self.assertLess(low.cells_searched, high.cells_searched)
        self.assertLess(low.recall, high.recall)
        self.assertGreaterEqual(high.recall, 0.98)
        queries = vectors[np.unique(np.linspace(0, 3999, 256).astype(int))]
        best = np.argsort(-(queries @ vectors.T), axis=1)[:, 1:11]
        found = low.search(queries, 11)[1]
        shares = [len(set(some) & set(those)) / 10 for some, those in zip(found, best, strict=True)]
        self.assertAllClose(low.recall, np.mean(shares), atol=1e-3)

    def test_recall_counts_the_others_that_are_as_near(self):
        best = np.array([[1.0, 0.9, 0.8], [1.0, 0.5, 0.4]])
        found = np.array([[1.0, 0.9, 0.7], [1.0, 0.5, -np.inf]])
        self.assertEqual(faiss_index.recall(found, best), 0.5)
        self.assertEqual(faiss_index.recall(best, best), 1.0)

    def test_an_unknown_kind_is_refused(self):
        with self.assertRaisesRegex(ValueError, "--kind must be one of auto, exact, cells. Received: tree"):
            faiss_index.build(np.eye(2, dtype=np.float32), kind="tree")


class FindModelTest(tf.test.TestCase):
    def test_a_relative_path_of_an_older_index_is_found_from_any_folder(self):
        root = pathlib.Path(self.create_tempdir().full_path)
        folder = root / "outputs" / "index"
        for made in (folder, root / "served" / "own" / "1"):
            made.mkdir(parents=True)
        for recorded, found in (
            ("served/own/1", str(root / "served" / "own" / "1")),
            (str(root / "served" / "own" / "1"), str(root / "served" / "own" / "1")),
            ("served/own/2", "served/own/2"),
        ):
            (folder / "index.json").write_text(json.dumps({"made_of": {"model": recorded}}))
            self.assertEqual(find_model(folder), found)

    def test_the_path_of_a_model_is_recorded_from_the_root(self):
        described = embeddings.describe("served/own/1", {"weights_sha256": ""}, Hyperparameters(labels_per_class=1), [])
        self.assertEqual(described["model"], os.path.abspath("served/own/1"))


class ThumbnailTest(tf.test.TestCase):
    def test_a_wide_picture_stands_in_the_middle_on_white(self):
        pixels = np.asarray(thumbnail(encode(np.zeros([2, 4, 1], np.uint8)), 8))
        self.assertEqual(pixels.shape, (8, 8, 3))
        self.assertAllEqual(pixels[:2], np.full([2, 8, 3], 255))
        self.assertAllEqual(pixels[2:6], np.zeros([4, 8, 3]))

    def test_what_is_no_picture_is_blank(self):
        self.assertAllEqual(np.asarray(thumbnail(b"rubbish", 4)), np.full([4, 4, 3], 255))


class ExtrasTest(absltest.TestCase):
    def test_a_missing_extra_is_told_with_how_to_get_it(self):
        with (
            mock.patch.dict(extras.PACKAGES, search=("json", "no_such_package")),
            self.assertRaisesRegex(ValueError, r'This needs the extra "search": pip install "semppl\[search\]"'),
        ):
            extras.require_extra("search")
        with mock.patch.dict(extras.PACKAGES, search=("json",)):
            extras.require_extra("search")


@unittest.skipUnless(_HAS_FAISS, 'the extra "search" is not installed')
class SearchTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(cls.enter_context(tempfile.TemporaryDirectory()))
        write_run(cls.folder / "run")
        cls.model, cls.pictures = cls.folder / "1", cls.folder / "pictures"
        export_model.export(cls.folder / "run", cls.model)
        images = np.round(load_source("digits").test.images[:_PICTURES] * 255).astype(np.uint8)
        for number, image in enumerate(images):
            path = cls.pictures / "abc"[number % 3] / f"<{number:02d}>.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(image).numpy() if number != 4 else b"rubbish")
        reading = {"data": f"folder:{cls.pictures}?labels=folders"}
        embed.embed(cls.model, reading, cls.folder / "embeddings", shard_size=12)
        cls.report = index.build_index(cls.folder / "embeddings", cls.folder / "index")
        cls.search = search.Search(cls.folder / "index")

    def _query(self, name):
        return read_picture(self.pictures / name, self.search.hyperparameters)

    def test_the_index_says_what_it_is(self):
        self.assertEqual(json.loads((self.folder / "index" / "index.json").read_text()), self.report)
        self.assertEqual(
            (self.report["pictures"], self.report["not_readable"], self.report["width"]), (_PICTURES - 1, 1, 8)
        )
        self.assertEqual((self.report["kind"], self.report["recall_at_10"]), ("exact", 1.0))

    def test_a_picture_is_most_like_itself_and_then_like_its_nearest(self):
        (result,) = self.search.like([self._query("a/<03>.png")], 5)
        found = result.found
        embedded = read_embeddings(self.folder / "embeddings")
        paths = embedded.rows["path"].to_pylist()
        similarities = embedded.vectors @ embedded.vectors[paths.index("a/<03>.png")]
        self.assertEqual(found[0].path, "a/<03>.png")
        self.assertAllClose([one.similarity for one in found], -np.sort(-similarities)[:5], atol=1e-5)
        self.assertEqual([one.truth for one in found], [one.path[0] for one in found])
        self.assertNotIn("b/<04>.png", paths)

    def test_the_page_shows_every_result_and_needs_nothing_else(self):
        pictures = [self._query("a/<03>.png"), self._query("b/<01>.png")]
        page = self.search.page(self.search.like(pictures, 4, names=["<query>", "other"]))
        self.assertLen(re.findall("<figure>", page), 8)
        sources = re.findall('src="(.*?)"', page)
        self.assertLen(sources, 10)
        self.assertTrue(all(source.startswith("data:image/png;base64,") for source in sources))
        self.assertEqual(sources[0], sources[1])  # the query, and itself as the first result
        self.assertIn("More like &lt;query&gt;", page)
        self.assertIn("a/&lt;03&gt;.png", page)
        self.assertNotIn("<query>", page)
        self.assertNotRegex(page, "https?://")
        for address in re.findall('href="(.*?)"', page):
            self.assertTrue(pathlib.Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).is_file())
        self.assertLen(re.findall('href="file:///', page), 8)

    def test_the_page_says_what_the_model_predicts_for_the_query(self):
        query = self._query("a/<03>.png")
        (result,) = self.search.like([query], 4)
        expected = tf.saved_model.load(str(self.model)).signatures["serving_default"](bytes=tf.constant([query]))
        name, probability = expected["class_name"][0].numpy().decode(), float(expected["probability"][0])
        self.assertEqual((result.class_name, result.abstains), (name, bool(expected["abstain"][0])))
        self.assertAllClose(result.probability, probability, atol=1e-4)
        self.assertIn(f"<p>The model says: {name}, probability {result.probability:.2f}", self.search.page([result]))

    def test_right_and_wrong_predictions_of_known_classes_have_a_colour(self):
        for truth, predicted, shown in (
            ("cat", "cat", '<span class="right">cat</span>'),
            ("cat", "dog", '<span class="wrong">cat, predicted dog</span>'),
            ("", "dog", '<span class="quiet">dog?</span>'),
            ("cat", "", "<span>cat</span>"),
            ("", "", "a.png </figcaption>"),
        ):
            result = Result("q", b"", (Found(0, "a.png", 0.5, truth, predicted),))
            self.assertIn(shown, search_page.section(result, [b""], link=lambda found: ""))

    def test_the_served_page_searches_for_files_and_searches_on(self):
        values = {"index": str(self.folder / "index"), "page_port": 0, "results": 3}
        served = []
        made = mock.patch.object(
            search, "SearchServer", side_effect=lambda *a, **k: served.append(SearchServer(*a, **k)) or served[0]
        )
        with (
            made,
            mock.patch.object(search.signal, "signal"),
            contextlib.redirect_stdout(io.StringIO()),
            flagsaver.flagsaver(**values),
        ):
            thread = threading.Thread(target=search.main, args=(["search"],), daemon=True)
            thread.start()
            while not served and thread.is_alive():
                time.sleep(0.01)
            address = f"http://localhost:{served[0].server_port}"
            silent = socket.create_connection(("localhost", served[0].server_port))  # as a browser opens in advance
            self.addCleanup(silent.close)
            self.assertIn("Drop a picture here", _get(address))
            found = _get(f"{address}/search?name=%3Cmine%3E", (self.pictures / "a/<03>.png").read_bytes())
            self.assertIn("More like &lt;mine&gt;", found)
            links = re.findall('href="(/like/[0-9]+)"', found)
            self.assertLen(links, 3)
            further = _get(address + links[1])
            self.assertLen(re.findall('href="/like/', further), 3)
            self.assertIn(f"/like/{links[1].rpartition('/')[2]}", further)  # the most similar picture is itself
            for path, body in (("/search?name=a", b"rubbish"), ("/like/99999", None), ("/like/11", None)):
                with self.assertRaisesRegex(urllib.error.HTTPError, "400"):
                    _get(address + path, body)
            with self.assertRaisesRegex(urllib.error.HTTPError, "404"):
                _get(f"{address}/nothing")
            served[0].shutdown()
            thread.join()
        served[0].server_close()

    def test_a_page_is_written_without_thumbnails_where_the_pictures_have_gone(self):
        away = search.Search(self.folder / "index")
        with mock.patch.object(search, "open_collections", side_effect=ValueError("gone")):
            page = away.page(away.like([self._query("a/<03>.png")], 3))
        self.assertLen(re.findall("<figure>", page), 3)

    def test_the_projector_finds_tensors_metadata_sprite_and_an_event_file(self):
        folder = self.folder / "index" / "projector"
        config = text_format.Parse(
            (folder / "projector_config.pbtxt").read_text(), projector_config_pb2.ProjectorConfig()
        )
        (embedding,) = config.embeddings
        embedded = read_embeddings(self.folder / "embeddings")
        self.assertAllClose(np.loadtxt(folder / embedding.tensor_path), embedded.vectors, atol=1e-5)
        header, *rows = (folder / embedding.metadata_path).read_text().splitlines()
        self.assertEqual(header.split("\t"), ["name", "truth", "class_name"])
        self.assertEqual([row.split("\t")[0] for row in rows], embedded.rows["path"].to_pylist())
        sprite = Image.open(folder / embedding.sprite.image_path)
        side = embedding.sprite.single_image_dim[0]
        self.assertEqual(sprite.size, (6 * side, 6 * side))  # 29 pictures
        eighth = np.asarray(sprite.crop((side, side, 2 * side, 2 * side)))  # second row, second column
        expected = thumbnail(self._query(rows[7].split("\t")[0]), side)
        self.assertAllEqual(eighth, np.asarray(expected))
        self.assertLen(list(folder.glob("events.out.tfevents.*")), 1)

    def test_a_folder_with_pattern_characters_is_indexed_and_named_as_a_shell_takes_it(self):
        embeddings, out = (str(self.folder / f"{name} [v2]*") for name in ("embeddings", "index"))
        shutil.copytree(self.folder / "embeddings", embeddings)
        with flagsaver.flagsaver(embeddings=embeddings, out=out), contextlib.redirect_stdout(io.StringIO()) as printed:
            self.assertEqual(index.main([]), 0)
        command, address = printed.getvalue().splitlines()[1].split(": ", 1)[1].split(", then ")
        self.assertEqual(shlex.split(command), ["tensorboard", "--logdir", out])
        self.assertEqual(
            address,
            "http://localhost:6006/#projector; for colours by class, choose class_name in the menu “Color by” on the left",
        )
        (result,) = search.Search(out).like([self._query("a/<03>.png")], 1)
        self.assertEqual(result.found[0].path, "a/<03>.png")

    @parameterized.parameters(
        ({"name": ["a", "b"], "truth": ["x", "y"], "class_name": ["x", "x"]}, "truth"),
        ({"name": ["a", "b"], "truth": ["x", "y"], "class_name": ["x", "y"]}, "class_name"),
        ({"name": ["a", "b"]}, ""),
        ({"class_name": [str(number) for number in range(50)]}, "class_name"),
        ({"class_name": [str(number) for number in range(51)]}, ""),
    )
    def test_the_projector_is_coloured_by_a_column_of_classes(self, metadata, expected):
        self.assertEqual(projector.colour_column(metadata), expected)

    def test_an_index_whose_model_is_gone_says_that_it_refers_to_the_model(self):
        moved = pathlib.Path(self.create_tempdir().full_path) / "index"
        shutil.copytree(self.folder / "index", moved)
        text = (moved / "index.json").read_text()
        (moved / "index.json").write_text(text.replace(json.dumps(str(self.model)), '"served/gone/1"'))
        message = f"Received: served/gone/1, of which {moved} was made; name its folder with --model"
        with self.assertRaisesRegex(ValueError, message):
            search.Search(moved)
        search.Search(moved, str(self.model))

    def test_what_is_wrong_is_told_in_a_line(self):
        for message, wrong in {
            "--embeddings must be a folder that semppl.export.embed wrote": lambda: index.build_index(
                self.folder, self.folder / "other"
            ),
            "--out must be a new folder": lambda: index.build_index(self.folder / "embeddings", self.folder / "index"),
            "--index must be a folder that semppl.export.index wrote": lambda: search.Search(self.folder),
            "--model must be the folder of an exported model": lambda: search.Search(
                self.folder / "index", str(self.folder)
            ),
            "--picture must be a file. Received: .*nowhere.png: No such file": lambda: self._query("nowhere.png"),
            "--picture must be a picture. Received: .*04>.png: of no known format": lambda: self._query("b/<04>.png"),
            "--picture must be a picture. Received: number 1$": lambda: self.search.like([b"rubbish"], 1),
            "--picture must be a picture. Received: a.png$": lambda: self.search.like([b"rubbish"], 1, names=["a.png"]),
        }.items():
            with self.assertRaisesRegex(ValueError, message):
                wrong()

    def test_a_model_of_the_same_weights_must_embed_in_the_same_numbers(self):
        for name, (settings, embedding) in enumerate(
            (
                ({"embedding": "features", "embedding_dims": 8}, "8 features"),
                ({"embedding_dims": 3}, "3 projections"),
            ),
            2,
        ):
            model = self.folder / str(name)
            export_model.export(self.folder / "run", model, memory=False, **settings)
            with self.assertRaisesRegex(
                ValueError,
                f"--model must embed in 8 projections, as in the index. Received: {model}, with {embedding}$",
            ):
                search.Search(self.folder / "index", str(model))

    def test_an_old_index_answers_a_new_model_that_is_compatible_with_its_projections(self):
        run, model = self.folder / "new_run", self.folder / "5"
        write_run(run, seed=5, queue=False)
        compatible_run.write_record(run, compatible_run.describe_run(str(self.folder / "run")))
        export_model.export(run, model, memory=False)
        (result,) = search.Search(self.folder / "index", str(model)).like([self._query("a/<03>.png")], 3)
        self.assertLen(result.found, 3)
        card = json.loads((model / "assets" / "model_card.json").read_text())
        self.assertEqual(card["compatible_with"]["run"], str(self.folder / "run"))
        other = shutil.copytree(self.folder / "index", self.folder / "features")
        report = json.loads((other / "index.json").read_text())
        strange = {"compatible_with": card["compatible_with"] | {"weights_sha256": "0"}}
        for searched, changed, made_of in (
            (self.folder / "index", {"compatible_with": None}, {}),
            (self.folder / "index", strange, {}),
            (other, {}, {"embedding": {"kind": "features", "width": 8}}),
        ):
            (model / "assets" / "model_card.json").write_text(json.dumps(card | changed))
            (other / "index.json").write_text(json.dumps(report | {"made_of": report["made_of"] | made_of}))
            with self.assertRaisesRegex(
                ValueError, "or one compatible with its projections. Received: .*other weights"
            ):
                search.Search(searched, str(model))

    def test_an_index_that_does_not_say_what_it_holds_is_read(self):
        old = shutil.copytree(self.folder / "index", self.folder / "old")
        report = json.loads((old / "index.json").read_text())
        del report["made_of"]["embedding"]
        (old / "index.json").write_text(json.dumps(report))
        (result,) = search.Search(old).like([self._query("a/<03>.png")], 1)
        self.assertEqual(result.found[0].path, "a/<03>.png")

    def test_a_page_that_cannot_be_written_names_the_flag(self):
        values = {"index": str(self.folder / "index"), "picture": [str(self.pictures / "a/<03>.png")]}
        for out, why in (("none/page.html", "No such file or directory"), ("index", "Is a directory")):
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()) as output,
                flagsaver.flagsaver(out=str(self.folder / out), **values),
            ):
                self.assertEqual(search.main(["search"]), 2)
            expected = f"error: --out must be a file that can be written. Received: {self.folder / out} ({why})\n"
            self.assertEqual(output.getvalue(), expected)

    def test_embeddings_that_are_not_whole_are_refused(self):
        part = self.folder / "embeddings" / "part-00001.parquet"
        part.rename(part.with_suffix(".away"))
        try:
            with self.assertRaisesRegex(ValueError, "--embeddings must be whole.*18 of 30 pictures"):
                read_embeddings(self.folder / "embeddings")
        finally:
            part.with_suffix(".away").rename(part)


if __name__ == "__main__":
    tf.test.main()
