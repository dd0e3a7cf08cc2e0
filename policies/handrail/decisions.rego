# METADATA
# title: Decisions
# description: |
#   What the gateway asks for: every rule's word on every step. The gateway merges them: deny beats ask beats allow,
#   and a step of which nobody speaks is denied. To add a rule, add its package here.
# entrypoint: true
package handrail

import data.handrail.grants
import data.handrail.limits
import data.handrail.paths
import data.handrail.secrets
import data.handrail.side_effects

decisions contains decision if some decision in grants.decisions

decisions contains decision if some decision in limits.decisions

decisions contains decision if some decision in paths.decisions

decisions contains decision if some decision in secrets.decisions

decisions contains decision if some decision in side_effects.decisions
