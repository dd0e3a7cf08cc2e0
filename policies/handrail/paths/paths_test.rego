package handrail.paths_test

import data.handrail.paths

outcome(args) := {reason.code |
	some decision in paths.decisions with input as request(args)
		with data.handrail.paths.directories as {"git": ["/srv/shared/"]}
		with data.handrail.paths.relative as {"git": ["/files/*"]}
	decision.effect == "deny"
	some reason in decision.reasons
}

request(args) := {
	"steps": [{"id": "s", "hand": "git", "action": "add", "args": args}],
	"hands": {"git": {
		"labels": ["root:/repo/", "root:/", "blue"],
		"actions": {"add": {"args": {
			"/repo_path": "path",
			"/files/*": "path",
			"/odd~1name": "path",
			"/pair/1": "path",
			"/message": "content",
		}}},
	}},
}

test_the_root_itself if outcome({"repo_path": "/repo"}) == set()

test_below_the_root if outcome({"repo_path": "/repo/docs/a file.md"}) == set()

test_below_a_directory_of_the_data if outcome({"repo_path": "/srv/shared/x"}) == set()

test_outside if outcome({"repo_path": "/etc"}) == {"paths.outside"}

test_a_sibling_that_begins_like_the_root if outcome({"repo_path": "/repository"}) == {"paths.outside"}

test_the_root_of_the_machine_is_no_root if outcome({"repo_path": "/etc/passwd"}) == {"paths.outside"}

test_dot_dot if outcome({"repo_path": "/repo/../etc"}) == {"paths.not_normal"}

test_dot if outcome({"repo_path": "/repo/./x"}) == {"paths.not_normal"}

test_empty_segment if outcome({"repo_path": "/repo//x"}) == {"paths.not_normal"}

test_trailing_slash if outcome({"repo_path": "/repo/"}) == {"paths.not_normal"}

test_empty_text if outcome({"repo_path": ""}) == {"paths.not_normal"}

test_percent_escape if outcome({"repo_path": "/repo/%2e%2e/etc"}) == {"paths.characters"}

test_backslash if outcome({"repo_path": "/repo/..\\etc"}) == {"paths.characters"}

test_nul if outcome({"repo_path": "/repo\u0000/../../etc"}) == {"paths.characters"}

test_relative if outcome({"repo_path": "repo"}) == {"paths.relative"}

test_home if outcome({"repo_path": "~/repo"}) == {"paths.relative"}

test_a_relative_path_that_the_tool_resolves if outcome({"files": ["a.txt", "docs/b.txt"]}) == set()

test_a_relative_path_that_climbs if outcome({"files": ["a.txt", "../../etc/passwd"]}) == {"paths.not_normal"}

test_an_absolute_path_among_relative_ones if outcome({"files": ["/etc/passwd"]}) == {"paths.outside"}

test_not_a_text if outcome({"repo_path": ["/repo"]}) == {"paths.not_text"}

test_null if outcome({"repo_path": null}) == {"paths.not_text"}

test_an_escaped_pointer if outcome({"odd/name": "/etc"}) == {"paths.outside"}

test_an_item_by_number if outcome({"pair": ["x", "/etc"]}) == {"paths.outside"}

test_another_role_is_not_a_path if outcome({"message": "../../etc"}) == set()

test_a_hand_without_roots_touches_nothing if {
	some decision in paths.decisions with input as {
		"steps": [{"id": "s", "hand": "h", "action": "a", "args": {"p": "/tmp"}}],
		"hands": {"h": {"labels": [], "actions": {"a": {"args": {"/p": "path"}}}}},
	}
	some reason in decision.reasons
	reason.code == "paths.outside"
}
