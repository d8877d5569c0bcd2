//! What caching proxies have been caught at, each with the tests that would catch us.

use std::path::Path;

const TABLE: &[(&str, &[&str])] = &[
    (
        "a part is stored as if it were the whole",
        &[
            "parts_that_are_not_what_was_asked_for_are_not_served_as_such",
            "the_end_of_something_cold_is_asked_for_as_such_and_kept",
        ],
    ),
    (
        "who waits for another's fill looks again now and then, instead of being woken",
        &["twenty_clients_on_one_cold_object_are_one_fetch"],
    ),
    ("who has waited long goes to the source, and so does everybody", &["a_slow_origin_is_waited_for_by_all_who_wait"]),
    ("what may not be kept is fetched by one after the other", &["what_is_for_one_visitor_is_fetched_for_each"]),
    (
        "two versions are mixed",
        &[
            "generations_are_never_mixed",
            "a_tag_that_changes_with_each_answer_never_mixes_bodies",
            "two_sources_that_have_different_things_are_not_mixed",
        ],
    ),
    (
        "who asks for a part while the whole comes gets the whole",
        &["the_whole_in_answer_to_a_part_is_cut_to_that_part"],
    ),
    ("several ranges at once get 416, or everything", &["ranges_and_conditions_are_answered_from_the_cache"]),
    (
        "If-Range, HEAD, ends and open ranges",
        &[
            "ranges_and_conditions_are_answered_from_the_cache",
            "a_head_alone_does_not_fetch_the_body",
            "the_end_of_something_small_or_empty_is_right",
        ],
    ),
    ("the first request fails as nobody has looked at the siblings yet", &["siblings_that_are_gone_are_not_missed"]),
    ("small parts wait for acknowledgements that wait for them", &["a_connection_is_used_again_after_a_hit"]),
    (
        "a full disk is the clients' trouble",
        &[
            "a_disk_that_others_fill_up_stops_nobody",
            "a_disk_that_is_full_at_the_start_stops_nobody_either",
            "a_disk_that_becomes_read_only_is_still_read",
            "a_disk_that_takes_nothing_and_says_nothing_stops_nobody",
        ],
    ),
    (
        "a restart forgets what was wanted, or waits for its index",
        &["a_restart_keeps_what_there_was", "without_an_index_the_folder_is_looked_through_and_nothing_waits_for_it"],
    ),
    ("what nobody reads any more is fetched to its end", &["what_nobody_reads_any_more_is_not_fetched_to_its_end"]),
    (
        "what is for one visitor is served to another, or a crafted host stands for another",
        &[
            "what_is_for_one_visitor_is_fetched_for_each",
            "a_request_is_for_one_site",
            "no_client_can_keep_others_from_the_cache",
        ],
    ),
    ("a request is hidden in another", &["a_request_hidden_in_another_is_not_answered"]),
    ("a 304 changes nothing of what is stored", &["what_is_stale_is_looked_at_and_not_fetched_again"]),
    (
        "a 404 of a secondary source takes the place of something good",
        &[
            "a_404_falls_through_and_is_remembered_when_all_say_it",
            "a_key_that_is_refused_is_a_source_that_fails_and_tells_nothing",
        ],
    ),
    (
        "a purge misses what is being fetched",
        &["purges_need_the_token_and_work_while_a_fill_runs", "a_purge_is_of_what_is_being_asked_for_as_well"],
    ),
    (
        "figures come from where the clients are, and a full edge looks dead",
        &["when_there_is_no_room_clients_wait_in_line"],
    ),
    (
        "the end takes minutes",
        &["what_never_ends_is_waited_for_for_a_while", "the_program_checks_tells_how_it_is_and_ends_when_it_is_told"],
    ),
    (
        "large things are not kept, and ranges not at all, unless somebody knows the keys",
        &["a_cold_seek_does_not_wait_for_the_front"],
    ),
];

#[test]
fn each_is_looked_for_by_a_test_that_there_is() {
    let mut texts = String::new();
    let mut folders =
        vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                texts.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    assert_eq!(TABLE.len(), 21);
    for (pitfall, tests) in TABLE {
        assert!(!tests.is_empty(), "{pitfall}");
        for test in *tests {
            assert!(texts.contains(&format!("fn {test}()")), "{pitfall}: there is no test {test}");
        }
    }
}
