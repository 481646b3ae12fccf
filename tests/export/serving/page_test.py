"""Tests of semppl.export.serving.page, and of the addresses of the stand-in server that it uses."""

import contextlib
import http.client
import io
import json
import pathlib
import types
from unittest import mock

import numpy as np
import tensorflow as tf
from PIL import Image

from semppl.export.collections.thumbnails import data_url, thumbnail
from semppl.export.serving import page, rest_service
from semppl.export.serving.predictor import Limits
from semppl.tests import testing  # noqa: F401  (before TensorFlow runs anything)


class PageTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        file = io.BytesIO()
        Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(file, "PNG")
        self.picture = file.getvalue()
        (self.folder / "pictures").mkdir()
        (self.folder / "pictures" / "ä,1.png").write_bytes(self.picture)
        self.version = self.folder / "served" / "1"
        (self.version / "assets").mkdir(parents=True)

    def _write(self, data, rows):
        card = {"hyperparameters": {"data": data, "labels_per_class": 1}}
        (self.version / "assets" / "model_card.json").write_text(json.dumps(card), encoding="utf-8")
        (self.version / "assets" / "labels.csv").write_text(rows, encoding="utf-8")

    def test_a_labelled_picture_has_class_path_and_thumbnail(self):
        data = f"digits,folder:{self.folder}/pictures?labels=labels.csv"
        self._write(data, 'id,label,class_name,path\n7,0,hat,"ä,1.png"\n8,1,dress,gone.png\n')
        labelled = page.LabelledPictures(self.version)
        shown = data_url(thumbnail(self.picture, 128))
        self.assertEqual(labelled.describe(7), {"class_name": "hat", "path": "ä,1.png", "thumbnail": shown})
        self.assertEqual(labelled.describe(8), {"class_name": "dress", "path": "gone.png", "thumbnail": ""})
        self.assertEqual(labelled.describe(-1), {"class_name": "", "path": "", "thumbnail": ""})

    def test_an_added_picture_is_found_and_an_ambiguous_one_is_not_shown(self):
        (self.folder / "more").mkdir()
        for place in ("more/ä,1.png", "b.png"):
            (self.folder / place).write_bytes(self.picture)
        data = f"folder:{self.folder}/pictures,folder:{self.folder}/more"
        self._write(data, f'id,label,class_name,path\n7,0,hat,"ä,1.png"\n8,1,dress,{self.folder}/b.png\n')
        labelled = page.LabelledPictures(self.version)
        self.assertEqual(labelled.describe(7)["thumbnail"], "")
        self.assertEqual(labelled.describe(8)["thumbnail"], data_url(thumbnail(self.picture, 128)))

    def test_an_older_export_has_no_paths(self):
        self._write("digits", "id,label,class_name\n7,0,hat\n")
        described = page.LabelledPictures(self.version).describe(7)
        self.assertEqual(described, {"class_name": "hat", "path": "", "thumbnail": ""})

    def test_the_name_of_the_model_is_text(self):
        shown = page.page('</script><b>"x"').decode()
        self.assertNotIn("<b>", shown)
        self.assertIn('encodeURIComponent("\\u003c/script>\\u003cb>\\"x\\"")', shown)
        self.assertIn("<h1>&lt;/script&gt;&lt;b&gt;&quot;x&quot;</h1>", shown)

    def test_the_server_gives_the_page_and_its_pictures(self):
        self._write("digits", "id,label,class_name\n7,0,hat\n8,1,dress\n")
        versions = types.SimpleNamespace(name="own", base=self.version.parent, current=types.SimpleNamespace(number=1))
        predictor = types.SimpleNamespace(reading=contextlib.nullcontext, limits=Limits(), versions=versions)
        server = rest_service.start(predictor, 0)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        reader = self.enter_context(mock.patch.object(page.csv, "DictReader", wraps=page.csv.DictReader))
        for path, code, kind in (
            ("/", 200, "text/html; charset=utf-8"),
            ("/labelled?ids=8,7,-1", 200, "application/json"),
            ("/labelled?ids=8,7,-1", 200, "application/json"),
            ("/labelled?ids=", 400, "application/json"),
            ("/labelled?ids=../1", 400, "application/json"),
        ):
            connection = http.client.HTTPConnection(*server.server_address, timeout=60)
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read().decode()
            self.assertEqual((answer.status, answer.headers["Content-Type"]), (code, kind), path)
            if path == "/":
                self.assertIn("<title>own</title>", body)
            if path == "/labelled?ids=8,7,-1":
                self.assertEqual([one["class_name"] for one in json.loads(body)], ["dress", "hat", ""])
            connection.close()
        self.assertEqual(reader.call_count, 1)


if __name__ == "__main__":
    tf.test.main()
