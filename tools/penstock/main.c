/* penstock: the operators' command. */
#include "tools/penstock/cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv);
}
