-- A position that a node gives up by the operator's word is forgotten with the node, and once the node shows another one.

DELETE FROM brought_back WHERE node NOT IN (SELECT name FROM nodes WHERE removed = 0);
