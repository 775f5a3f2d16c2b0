# Sections: what of a document an agent may ask for, by the level of the section.
#
# Reads data.frameworks, which `postern framework show NAME --policy-data` writes: the number of
# each level, and the level of each section by document; and data.sections.framework, the
# name of the one that counts. Paths are /documents/{document}/sections/{section}. A section that
# nobody classified, a caller without clearance or with a level that is none here: denied. A clearance
# is the name of a level: give levels of different frameworks different names.
package postern.sections

import rego.v1

framework := data.frameworks[data.sections.framework]

level := framework.sections[input.parsed_path[1]][input.parsed_path[3]]

is_section if {
	count(input.parsed_path) == 4
	input.parsed_path[0] == "documents"
	input.parsed_path[2] == "sections"
}

default allow := false

allow if {
	is_section
	framework.levels[input.postern.clearance] >= framework.levels[level]
}
