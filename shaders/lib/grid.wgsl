// The index of a workgroup in a grid that `Grid::linear` may have folded into rows.
fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
