"use strict";
// Nothing on these pages needs a script but security keys.
