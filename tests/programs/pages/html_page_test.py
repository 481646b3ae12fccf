"""Tests of semppl.programs.pages.html_page."""

from absl.testing import absltest

from semppl.programs.pages import html_page


class HtmlPageTest(absltest.TestCase):
    def test_text_of_any_kind_is_escaped(self):
        self.assertEqual(html_page.as_text("<b a=\"1\" b='2'>&"), "&lt;b a=&quot;1&quot; b=&#x27;2&#x27;&gt;&amp;")
        self.assertEqual(html_page.as_text("Käse\u00a0\udce4\x00\n"), "Käse\u00a0\\udce4��")

    def test_columns_of_numbers_are_aligned_to_the_right(self):
        table = html_page.table(["<a>", "b"], [["x", 1], ["y", 2]])
        self.assertIn('<tr><th>&lt;a&gt;</th><th class="n">b</th></tr>', table)
        self.assertIn('<tr><td>x</td><td class="n">1</td></tr>', table)

    def test_a_page_has_one_title_and_adapts_to_phones_and_dark_screens(self):
        page = html_page.document("<T>", "<p>body</p>", style="p { margin: 0 }")
        self.assertTrue(page.startswith("<!doctype html>"))
        self.assertIn("<title>&lt;T&gt;</title>", page)
        self.assertIn("<h1>&lt;T&gt;</h1>\n<p>body</p>", page)
        for expected in ("width=device-width", "color-scheme: light dark", "p { margin: 0 }"):
            self.assertIn(expected, page)


if __name__ == "__main__":
    absltest.main()
