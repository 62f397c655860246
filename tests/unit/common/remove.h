/* Removes a temporary folder with all that is in it. */
#ifndef PENSTOCK_TESTS_UNIT_REMOVE_H
#define PENSTOCK_TESTS_UNIT_REMOVE_H

#include <ftw.h>
#include <stdio.h>

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline int remove_folder(const char *path)
{
	return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
