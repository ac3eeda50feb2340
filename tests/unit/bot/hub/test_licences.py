from dataclasses import replace

import pytest
from huggingface_hub import ModelInfo

from bot.hub.discovery.candidate import to_candidate
from bot.hub.licences import (
    DeclaredLicence,
    LicenceError,
    combine_licences,
    licence_conflict,
    licence_refusal,
    notice_file,
)


def merged(*licences, noncommercial=False):
    declared = [DeclaredLicence(f"reef/{place}", licence) for place, licence in enumerate(licences)]
    return combine_licences(declared, noncommercial=noncommercial)


@pytest.mark.parametrize(
    ("licences", "result"),
    [
        (("mit", "mit"), "mit"),
        (("mit", "apache-2.0"), "apache-2.0"),
        (("bsd-3-clause", "bsd-3-clause"), "apache-2.0"),
        (("llama3.1", "llama3.1", "mit"), "llama3.1"),
        (("gemma", "apache-2.0"), "gemma"),
        (("openrail", "mit"), "openrail"),
    ],
)
def test_licences_that_go_together_give_the_one_that_binds_the_merge(licences, result):
    assert merged(*licences).id == result


def test_a_llama_merge_says_so_and_is_named_llama():
    licence = merged("llama3.2", "mit")
    assert licence.name_prefix == "Llama"
    assert "Built with Llama." in licence.notices
    assert any("Llama 3.2 Community License" in notice for notice in licence.notices)


def test_a_stated_licence_is_attributed_as_such_and_may_forbid_publishing():
    stated = DeclaredLicence("reef/a", "microsoft-research-license", stated=True)
    assert licence_refusal(replace(stated, stated=False), noncommercial=True)
    licence = combine_licences([stated, DeclaredLicence("reef/b", "apache-2.0")], noncommercial=False)
    assert (licence.id, licence.name) == ("other", "microsoft-research-license")
    assert "reef/a (microsoft-research-license, which its card does not say), reef/b (apache-2.0)" in licence.notices[0]
    assert licence.notices[1] == "This model must not be published."


def test_the_use_restrictions_of_openrail_licences_are_passed_on_with_all_their_texts():
    licence = merged("openrail++", "creativeml-openrail-m", "mit")
    assert licence.id == "openrail++" and licence.restricted and not licence.in_file
    _, restrictions, changed = licence.notices
    for part in ("creativeml-openrail-m", "spaces/CompVis/stable-diffusion-license", "openrail++", "LICENSE.md"):
        assert part in restrictions
    assert "passes them on" in restrictions and "files were changed" in changed
    other = merged("bigscience-openrail-m", "mit")  # its list is another one
    assert other.id == "bigscience-openrail-m" and not other.restricted and "bigscience" in other.notices[1]


def test_stability_s_community_licence_is_named_linked_and_noted_in_a_file():
    licence = merged("stabilityai-ai-community", "apache-2.0")
    assert (licence.id, licence.name, licence.in_file) == ("other", "stabilityai-ai-community", True)
    assert licence.link == "https://stability.ai/license"
    assert "Powered by Stability AI." in licence.notices
    (notice,) = notice_file(licence).values()
    assert "Copyright © Stability AI Ltd. All Rights Reserved.\nIt was changed" in notice.decode()
    assert notice_file(merged("openrail++", "mit")) == {}


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ({"license": "other", "license_name": "stabilityai-ai-community"}, "stabilityai-ai-community"),
        (
            {"license": "other", "license_name": "flux-1-dev-non-commercial-license"},
            "flux-1-dev-non-commercial-license",
        ),
        ({"license": "other", "license_name": "mit"}, "other"),
        ({"license": "other", "license_name": "MIT"}, "other"),
        ({"license": "other", "license_name": "mit, mit"}, "other"),
        ({"license": "other", "license_name": ["mit"]}, "other"),
        ({"license": "mit", "license_name": "gemma"}, "mit"),
        ({}, None),
    ],
)
def test_a_licence_without_an_id_is_known_by_its_name_alone(card, found):
    candidate = to_candidate(ModelInfo(id="reef/a", cardData=card, tags=[], siblings=[]))
    assert candidate.licence == found
    if found not in ("mit", "stabilityai-ai-community"):
        assert licence_refusal(DeclaredLicence("reef/a", candidate.licence), noncommercial=True)


def test_every_part_is_attributed_with_its_licence():
    notice = merged("mit", "apache-2.0").notices[0]
    assert "reef/0 (mit)" in notice
    assert "reef/1 (apache-2.0)" in notice


@pytest.mark.parametrize(
    "licences",
    [
        ("llama3", "llama3.1"),
        ("llama3.1", "gemma"),
        ("llama3.1", "openrail"),
        ("stabilityai-ai-community", "openrail++"),
        ("cc-by-nc-4.0", "stabilityai-ai-community"),
        ("cc-by-nc-4.0", "llama3.1"),
        ("cc-by-nc-sa-4.0", "gemma"),
        ("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    ],
)
def test_licences_that_exclude_each_other_are_refused_by_name(licences):
    with pytest.raises(LicenceError, match="exclude each other") as caught:
        merged(*licences, noncommercial=True)
    assert all(licence in str(caught.value) for licence in licences)


@pytest.mark.parametrize("licence", [None, "other", "made-up", "cc-by-nd-4.0", "apple-amlr", "cc-by-nc-4.0"])
def test_missing_unknown_forbidding_and_noncommercial_licences_are_refused(licence):
    assert licence_refusal(DeclaredLicence("reef/a", licence), noncommercial=False)


def test_noncommercial_sources_are_taken_where_asked_for_and_bind_the_merge():
    assert merged("cc-by-nc-4.0", "mit", noncommercial=True).id == "cc-by-nc-4.0"
    shared = merged("cc-by-nc-4.0", "cc-by-nc-sa-4.0", noncommercial=True)
    assert shared.id == "cc-by-nc-sa-4.0"
    assert "Commercial use is not allowed." in shared.notices


def test_an_ancestor_that_forbids_counts_as_the_model_itself():
    ancestor = DeclaredLicence("reef/grandmother", "cc-by-nd-4.0", ancestor=True)
    assert licence_refusal(ancestor, noncommercial=True).startswith("its ancestor reef/grandmother")
    assert licence_conflict([DeclaredLicence("a/b", "llama3.1"), DeclaredLicence("c/d", "gemma", ancestor=True)])


def test_an_ancestor_that_cannot_be_seen_is_an_unknown_licence():
    lost = DeclaredLicence("reef/lost", None, ancestor=True, unseen="cannot be seen on the Hub")
    reason = "its declared base model reef/lost cannot be seen on the Hub, so its licence is unknown"
    assert licence_refusal(lost, noncommercial=True) == reason
    with pytest.raises(LicenceError, match=reason):
        combine_licences([DeclaredLicence("reef/cod", "mit"), lost], noncommercial=False)
