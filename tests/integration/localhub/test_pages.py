"""The pages that a person reads: complete, safe, and not in the API's way."""

from __future__ import annotations

import re

import httpx

from conftest import TestHub
from localhub.pages.markup import render_card

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
CARD = """---
license: apache-2.0
base_model: [tide/math, tide/language]
tags: [merge]
---
# Knee

| skill | score |
|---|---:|
| math | 0.8 |

![the front](plots/front.png)
"""


def test_every_page_of_a_model_and_a_collection_is_there(hub: TestHub) -> None:
    hub.store.commit("reef/knee", {"README.md": CARD, "plots/front.png": b"\x89PNG\0", "notes/a b.txt": "words"})
    hub.store.repo("reef/knee").create_tag("cycle-1", "main")
    api = hub.api()
    slug = api.create_collection("Demo", namespace="reef").slug
    api.add_collection_item(slug, "reef/knee", "model", note="the knee")
    api.create_discussion("reef/knee", "Is it good?", description="I wonder")
    expected = {
        "/": ["reef/</span>knee", "Demo"],
        "/?search=kn": ["reef/</span>knee"],
        "/?tag=merge": ["reef/</span>knee"],
        "/reef": ["knee", "Demo"],
        "/reef/knee": ["<h1>Knee</h1>", "<table>", "Merge of", "tide/math", "cycle-1", hub.endpoint],
        "/reef/knee/tree/main": ["plots/", "README.md", "Upload"],
        "/reef/knee/tree/cycle-1/plots": ["front.png", "LFS"],
        "/reef/knee/blob/main/notes/a%20b.txt": ["words", "SHA-256"],
        "/reef/knee/commits/main": ["Upload", "initial commit", "cycle-1"],
        "/reef/knee/discussions": ["Is it good?"],
        "/reef/knee/discussions/1": ["I wonder"],
        f"/collections/{slug}": ["Demo", "the knee", "reef/</span>knee"],
        "/-/style.css": ["body"],
    }
    browser = httpx.Client(base_url=hub.endpoint, headers=BROWSER)
    for path, texts in expected.items():
        answer = browser.get(path)
        assert answer.status_code == 200, path
        for text in texts:
            assert text in answer.text, (path, text)
    assert browser.get(f"/reef/knee/commit/{hub.store.head('reef/knee')}").status_code == 302


def test_a_model_s_parents_are_named_once_and_one_like_is_one_like(hub: TestHub) -> None:
    hub.store.commit("reef/knee", {"README.md": CARD})
    hub.store.set_likes("reef/knee", 1)
    page = httpx.get(f"{hub.endpoint}/reef/knee", headers=BROWSER).text
    assert "base_model:" not in page and page.count("tide/math</a>") == 1
    listed = httpx.get(f"{hub.endpoint}/", headers=BROWSER).text
    assert ">1 like<" in listed and ">0 downloads<" in listed


def test_every_link_of_a_model_s_page_leads_somewhere(hub: TestHub) -> None:
    hub.store.commit("reef/knee", {"README.md": CARD, "plots/front.png": b"\x89PNG\0", "a#?.txt": "x"})
    hub.api().create_branch("reef/knee", branch="side/way")
    browser = httpx.Client(base_url=hub.endpoint, headers=BROWSER, follow_redirects=True)
    for page in ("/reef/knee", "/reef/knee/tree/main", "/reef/knee/tree/side%2Fway", "/reef/knee/commits/main"):
        text = browser.get(page).text
        for link in set(re.findall(r'(?:href|src)="(/[^"]*)"', text)) - {"/tide/math", "/tide/language"}:
            answer = browser.get(link.replace("&amp;", "&"))
            assert answer.status_code == 200, (page, link)


def test_a_card_cannot_run_anything_or_reach_outside_its_repo() -> None:
    html = render_card(
        '<script>alert(1)</script><img src=x onerror="alert(1)"><style>*{}</style><iframe src="//x"></iframe>'
        '<a href="javascript:alert(1)">a</a> [b](javascript:alert(1)) <p style="position:fixed;text-align:left">\n\n'
        "![c](../../../../secret/model/resolve/main/x.png) <img src='data:image/svg+xml;base64,x'>\n\n"
        '<form action="/api/repos/delete"><input></form><svg onload=alert(1)></svg>',
        f"/ada/m/resolve/{'0' * 40}/",
        f"/ada/m/blob/{'0' * 40}/",
    )
    for danger in ("<script", "onerror", "<style", "<iframe", 'href="javascript', "position", "secret", "<form"):
        assert danger not in html, danger
    assert "<svg" not in html
    assert "data:" not in html
    assert f'src="/ada/m/resolve/{"0" * 40}/x"' in html


def test_relative_images_and_links_of_a_card_lead_to_its_own_files() -> None:
    body = "![p](plots/a.png) [r](recipe.yml) [w](https://example.org) [h](#use)"
    html = render_card(body, "/ada/m/resolve/abc/", "/ada/m/blob/abc/")
    assert 'src="/ada/m/resolve/abc/plots/a.png"' in html
    assert 'href="/ada/m/blob/abc/recipe.yml"' in html
    assert 'href="https://example.org"' in html
    assert 'href="#use"' in html


def test_hostile_names_and_card_fields_are_escaped_on_every_page(hub: TestHub) -> None:
    evil = '"><script>alert(1)</script>'
    front = f"---\ntags: ['{evil}']\nlicense: '{evil}'\nbase_model: '{evil}'\npipeline_tag: '{evil}'\n---\n"
    hub.store.commit("ada/m", {"README.md": front + "# x", "<b>.txt": "<script>alert(1)</script>"}, evil)
    for path in ("/", "/ada", "/ada/m", "/ada/m/tree/main", "/ada/m/commits/main", "/ada/m/blob/main/%3Cb%3E.txt"):
        answer = httpx.get(hub.endpoint + path, headers=BROWSER)
        assert answer.status_code == 200
        assert "<script" not in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_a_file_of_a_repo_is_never_served_as_a_page(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"evil.html": "<script>alert(1)</script>", "evil.svg": "<svg/>", "evil.js": "x"})
    for name in ("evil.html", "evil.svg", "evil.js"):
        answer = httpx.get(f"{hub.endpoint}/ada/m/resolve/main/{name}", headers=BROWSER)
        assert not answer.headers["Content-Type"].startswith(("text/html", "application/javascript"))
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_browser_gets_errors_as_pages_and_a_program_as_json(hub: TestHub) -> None:
    page = httpx.get(f"{hub.endpoint}/ada/absent", headers=BROWSER)
    assert page.status_code == 404 and "401" not in page.text
    assert "<h1>Not found</h1>" in page.text and "There is nothing here" in page.text
    answer = httpx.get(f"{hub.endpoint}/ada/absent")
    assert answer.json()["error"]
    assert answer.headers["X-Error-Code"] == "RepoNotFound"
    assert httpx.get(f"{hub.endpoint}/api/models/ada/absent", headers=BROWSER).json()["error"]


def test_head_answers_as_get_does_without_the_body(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"README.md": "# A model"})
    for path in ("/", "/ada/m", "/ada/absent", "/api/models/ada/m", "/api/whoami-v2", "/-/style.css"):
        got, head = (httpx.request(method, hub.endpoint + path, headers=BROWSER) for method in ("GET", "HEAD"))
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["content-length"] == got.headers["content-length"]


def test_a_gated_file_s_page_says_so(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"a.txt": "x"})
    hub.store.set_gated("ada/m", "manual")
    page = httpx.get(f"{hub.endpoint}/ada/m/blob/main/a.txt", headers=BROWSER)
    assert (page.status_code, "Access to model ada/m is restricted" in page.text) == (401, True)
