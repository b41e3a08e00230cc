#pragma once

/* The verb `orphans` of flood. */
int orphans(char **argv);
